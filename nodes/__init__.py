"""The nodes that come with graphengine: thin typed functions, one file for each category."""

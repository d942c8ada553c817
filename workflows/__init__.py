"""The workflows that ship with graphengine. A package, so that they are found wherever it is installed."""

"""postcard: a Stable Diffusion small enough to ship, and the little world it was trained on.

`world` and `render` make scenes, pictures and exact depth maps; `caption` puts scenes into words;
`train` makes the model from nothing; `export.load` opens the shipped one.
"""

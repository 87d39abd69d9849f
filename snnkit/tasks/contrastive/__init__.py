"""Tasks that learn from several views of an image: MoCo v2, SwAV, DINO."""

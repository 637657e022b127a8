"""CapFilt (BLIP, arXiv 2201.12086 section 3.3): captions for images, and a filter for all captions."""

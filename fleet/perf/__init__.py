"""Performance: what one worker and one replica can do, and how sure that is."""

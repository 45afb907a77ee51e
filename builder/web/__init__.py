"""HTTP/1.1 pages: metrics, health, artifacts."""

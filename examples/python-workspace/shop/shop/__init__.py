"""A shop for the plants of the catalog."""

"""JSON as it streams, and what a schema says about a document that is not finished."""

"""What the model may call: Python functions, and the tools of MCP servers."""

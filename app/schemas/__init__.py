"""Models of requests and replies without tensor values. They validate requests and give the OpenAPI schemas."""

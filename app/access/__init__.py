"""Who may call the service: host names, origins of web pages, API keys and their quotas."""

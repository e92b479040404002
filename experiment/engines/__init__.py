"""Generation engines, requests in and greedy answers out: in this process, by vLLM, or by an OpenAI-like server."""

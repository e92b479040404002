"""Generation engines: prompts in, greedy answers out; in this process, by vLLM, or by a server that speaks OpenAI's API."""

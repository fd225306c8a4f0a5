"""Results of benchmark runs as their tools write them: vLLM, SGLang, AIPerf, GenAI-Perf and tables."""

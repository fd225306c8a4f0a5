# Requests of a benchmark, one JSON object a line, as `vllm bench serve --dataset-name timed_trace` reads them.
# Lengths follow the quantiles given; a prompt begins with pieces that all prompts share, and goes on with its own.
# Lengths are the same in every run; a prompt's own pieces are not, or a second run would find them in the cache.
import argparse
import json
import math
import random
import statistics
import sys
import zlib
from itertools import pairwise


def knots(text):
    return [(float(score), float(tokens)) for score, tokens in (pair.split(":") for pair in text.split(","))]


def length(score, table):
    score = min(max(score, table[0][0]), table[-1][0])
    for (low, few), (high, many) in pairwise(table):
        if score <= high:
            part = (score - low) / (high - low)
            return max(1, round(math.exp(math.log(few) + part * (math.log(many) - math.log(few)))))
    return max(1, round(table[-1][1]))


def lengths(table, count, rng):
    normal = statistics.NormalDist()
    found = [length(normal.inv_cdf((i + 0.5) / count), table) for i in range(count)]
    rng.shuffle(found)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--input", type=knots, required=True)
    parser.add_argument("--output", type=knots, required=True)
    parser.add_argument("--cached", type=float, required=True)
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--most", type=int, required=True)
    parser.add_argument("--client", type=int, required=True)
    parser.add_argument("--run", required=True)
    asked = parser.parse_args()
    rng = random.Random(asked.client)  # noqa: S311  lengths, no secrets
    answers = lengths(asked.output, asked.requests, rng)
    own = (1 << 40) + (zlib.crc32(asked.run.encode()) << 32)
    for prompt, answer in zip(lengths(asked.input, asked.requests, rng), answers, strict=True):
        prompt = min(prompt, asked.most - 1)
        pieces = math.ceil(prompt / asked.chunk)
        shared = min(round(prompt * asked.cached / asked.chunk), prompt // asked.chunk)
        ids = [*range(shared), *range(own, own + pieces - shared)]
        own += pieces
        row = {"timestamp": 0, "input_length": prompt, "output_length": min(answer, asked.most - prompt)}
        sys.stdout.write(json.dumps({**row, "hash_ids": ids}) + "\n")


main()

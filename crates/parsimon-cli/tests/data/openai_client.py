"""Talks to a server with the official OpenAI client; the test `the_official_client_works` runs it.

Arguments: the base URL, the API key. Prints `ok` as its last line.
"""

import asyncio
import json
import sys

import openai

url, key = sys.argv[1:3]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)
MODEL = "tiny"
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


def expect(kind, code, **request):
    try:
        client.chat.completions.create(**request)
    except kind as error:
        assert error.code == code, (error.code, code)
    else:
        raise AssertionError(f"{kind.__name__} was expected")


def models():
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def completions():
    answer = client.completions.create(
        model=MODEL, prompt=["ab", "cd"], n=2, max_tokens=5, seed=1, logprobs=2, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert all(choice.finish_reason == "length" for choice in answer.choices)
    assert all(len(choice.logprobs.token_logprobs) == 5 for choice in answer.choices)
    assert answer.usage.completion_tokens == 20
    stream = client.completions.create(model=MODEL, prompt="ab", max_tokens=5, seed=1, stream=True)
    assert sum(len(chunk.choices) for chunk in stream) > 0


def chats():
    request = dict(model=MODEL, messages=HELLO, max_completion_tokens=20, seed=2, temperature=0.8)
    whole = client.chat.completions.create(**request, logprobs=True, top_logprobs=3)
    choice = whole.choices[0]
    assert choice.message.role == "assistant"
    assert len(choice.logprobs.content) == whole.usage.completion_tokens
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
    text, usage, reasons = "", None, []
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for part in chunk.choices:
            text += part.delta.content or ""
            reasons += [part.finish_reason] if part.finish_reason else []
    assert text == choice.message.content, (text, choice.message.content)
    assert usage == whole.usage and reasons == [choice.finish_reason]
    stopping = dict(model=MODEL, messages=HELLO, logit_bias={"120": 100}, stop=["y", "xxx"], max_tokens=50)
    stopped = client.chat.completions.create(**stopping)
    assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].message.content == ""
    with client.chat.completions.stream(**stopping) as stream:
        assert stream.get_final_completion().choices[0].finish_reason == "stop"


def json_mode():
    bias = {"34": 4, "125": 6, "58": 4, "91": -3, "123": -3}
    ended = 0
    for seed in range(5):
        answer = client.chat.completions.create(
            model=MODEL, messages=HELLO, response_format={"type": "json_object"}, seed=seed, n=4, max_tokens=400, logit_bias=bias
        )
        for choice in answer.choices:
            if choice.finish_reason == "stop":
                assert isinstance(json.loads(choice.message.content), dict)
                ended += 1
    assert ended >= 10, ended


def embeddings():
    # The client asks for base64 by itself and decodes it.
    decoded = client.embeddings.create(model=MODEL, input=["ab", "cd"])
    floats = client.embeddings.create(model=MODEL, input=["ab", "cd"], encoding_format="float")
    for a, b in zip(decoded.data, floats.data, strict=True):
        # One is the float itself, the other its shortest decimal.
        assert all(abs(x - y) <= 1e-7 for x, y in zip(a.embedding, b.embedding, strict=True))
    assert len(decoded.data) == 2 and len(decoded.data[0].embedding) == 32


def errors():
    request = dict(model=MODEL, messages=HELLO)
    expect(openai.NotFoundError, "model_not_found", model="other", messages=HELLO)
    expect(openai.BadRequestError, "context_length_exceeded", model=MODEL, messages=[{"role": "user", "content": "x" * 40000}])
    expect(openai.BadRequestError, "unsupported_parameter", **request, response_format={"type": "json_schema", "json_schema": {"name": "a"}})
    expect(openai.BadRequestError, None, **request, temperature=3)
    stranger = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    try:
        stranger.models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("a wrong key was taken")


async def many():
    async with openai.AsyncOpenAI(base_url=url, api_key=key, timeout=60) as several:
        asked = [
            several.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=10, seed=seed % 4) for seed in range(16)
        ]
        texts = [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]
    assert all(texts[i] == texts[i % 4] for i in range(16))


for part in [models, completions, chats, json_mode, embeddings, errors]:
    part()
asyncio.run(many())
print("ok")

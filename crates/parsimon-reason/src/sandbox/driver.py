# Runs a program from standard input and writes one record of how it ended as the last line of standard error.
import ast, io, json, os, re, sys, time

KEPT = 1 << 20


class Tee(io.TextIOBase):
    """Standard output that remembers its beginning."""

    def __init__(self, below):
        self.below, self.parts, self.size = below, [], 0

    def writable(self):
        return True

    def write(self, text):
        if self.size < KEPT:
            self.parts.append(text)
            self.size += len(text)
        return self.below.write(text)

    def flush(self):
        self.below.flush()

    def take(self):
        text = "".join(self.parts)
        self.parts = []
        return text


def is_print(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and getattr(node.value.func, "id", None) == "print"


def prints(node):
    if is_print(node):
        return True
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try)
    return isinstance(node, blocks) and any(is_print(part) for part in ast.walk(node))


def arguments(source, node):
    text = ast.get_source_segment(source, node) or ""
    return text[text.find("(") + 1 : text.rfind(")")]


def tidy(text):
    try:
        rounded = str(round(float(text), 4))
        if len(rounded) <= len(text.strip()):
            text = rounded
    except (ValueError, OverflowError):
        pass
    if len(text) > 1024:
        text = text[:512] + "..." + text[-512:]
    return text.strip()


def run(source, out):
    tree = ast.parse(source)
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    labelled = sum(map(prints, tree.body)) > 1
    said, value = [], None
    for at, node in enumerate(tree.body):
        last = at + 1 == len(tree.body)
        if isinstance(node, ast.Expr) and last:
            value = eval(compile(ast.Expression(node.value), "<program>", "eval"), names)
        else:
            exec(compile(ast.Module([node], []), "<program>", "exec"), names)
        text = out.take()
        if labelled and is_print(node):
            said.append(arguments(source, node) + ": ")
        said.append(text)
    text = "".join(said)
    if not text.strip() and value is not None:
        text = str(value)
    return tidy(text)


def main():
    source = sys.stdin.buffer.read().decode("utf-8", "replace")
    source = re.sub(r"^[\s`]*(?:python\b)?[\s`]*", "", source, count=1)
    source = re.sub(r"[\s`]*$", "", source)
    below, errors = sys.stdout, sys.stderr
    out = Tee(below)
    sys.stdout = out
    record = {"status": "ok", "observation": ""}
    try:
        record["observation"] = run(source, out)
    except SystemExit as stop:
        code = stop.code
        record = {"status": "exit", "code": code if isinstance(code, int) else int(code is not None), "observation": tidy(out.take())}
    except MemoryError:
        record = {"status": "memory_limit", "observation": "MemoryError: "}
    except BaseException as error:
        kind = type(error).__name__
        record = {
            "status": "exception",
            "type": kind,
            "msg": str(error)[:2000],
            "observation": (kind + ": " + str(error))[:2000],
            "denied": getattr(error, "errno", None) in (1, 13),
        }
    record["cpu_ms"] = int(time.process_time() * 1000)
    try:
        below.flush()
    finally:
        errors.flush()
        os.write(2, ("\n\x1eparsimon1 " + json.dumps(record) + "\n").encode())
        os._exit(0)


main()

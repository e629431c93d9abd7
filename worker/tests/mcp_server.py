#!/usr/bin/env python3
"""An MCP server for tests, on the standard library alone: on stdio, or with a port over streamable HTTP.

`mcp_server.py [--http] [--stream] [--revision R] [--forget]`: with `--http` it prints its port. `--stream`: calls are answered
by a stream of events. `--forget`: a session is forgotten after its first call. `--vague`: of a session it does not know it
says 400, not 404.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FLAGS = set(sys.argv[1:])
REVISION = sys.argv[sys.argv.index("--revision") + 1] if "--revision" in FLAGS else None
TOOLS = ["echo", "slow", "fail", "teapot", "busy", "die", "large", "ask", "seen"]
cancelled, seen = {}, []


def text(said, **more):
    return {"content": [{"type": "text", "text": said}], **more}


def call(params, request, notify):
    """Gives back a result, or an error as (code, message)."""
    tool, arguments = params["name"], params.get("arguments", {})
    if tool == "echo":
        return text(json.dumps(arguments), structuredContent={"pid": os.getpid(), "arguments": arguments, "trace": params["_meta"].get("traceparent")})
    if tool == "slow":
        token = params["_meta"]["progressToken"]
        notify("notifications/progress", {"progressToken": token, "progress": 1, "total": 4, "message": "a quarter"})
        event = cancelled.setdefault(request, threading.Event())
        if event.wait(arguments.get("seconds", 60)):
            return text("stopped when it was told to")
        return text("done")
    if tool == "fail":
        return text("no such account", isError=True)
    if tool == "busy":
        return (-32603, "the database is away")
    if tool == "die":
        sys.stderr.write("out of ideas\n")
        sys.stderr.flush()
        os._exit(3)
    if tool == "large":
        return text("x" * arguments["bytes"])
    if tool == "ask":
        notify("ping", {}, "their-1")
        notify("sampling/createMessage", {}, "their-2")
        deadline = time.time() + 5
        while time.time() < deadline and not {"their-1", "their-2"} <= {m.get("id") for m in seen}:
            time.sleep(0.01)
        return text(json.dumps([m for m in seen if str(m.get("id")).startswith("their")]))
    if tool == "seen":
        return text(json.dumps([m.get("method") for m in seen]))
    return (-32602, "unknown tool: " + tool)


def answer(message, notify):
    """The answer to a message, or None."""
    seen.append(message)
    method, request, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method == "notifications/cancelled":
        cancelled.setdefault(params["requestId"], threading.Event()).set()
    if method is None or request is None:
        return None
    if method == "initialize":
        revision = REVISION or params["protocolVersion"]
        capabilities = {} if "--no-tools" in FLAGS else {"tools": {"listChanged": True}}
        result = {"protocolVersion": revision, "capabilities": capabilities, "serverInfo": {"name": "notes", "version": "1"}}
    elif method == "tools/list":
        # In pages of four.
        begin = int(params.get("cursor", "0"))
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS[begin : begin + 4]]}
        if begin + 4 < len(TOOLS):
            result["nextCursor"] = str(begin + 4)
    elif method == "tools/call":
        result = call(params, request, notify)
    else:
        result = (-32601, "no such method")
    head = {"jsonrpc": "2.0", "id": request}
    if isinstance(result, tuple):
        return {**head, "error": {"code": result[0], "message": result[1]}}
    return {**head, "result": result}


def stdio():
    lock = threading.Lock()

    def say(message):
        with lock:
            print(json.dumps(message), flush=True)

    def notify(method, params, request=None):
        say({"jsonrpc": "2.0", "method": method, "params": params, **({"id": request} if request else {})})

    def handle(message):
        said = answer(message, notify)
        if said is not None:
            say(said)

    print("notes server, starting up", flush=True)
    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        if message.get("method") == "tools/call":
            threading.Thread(target=handle, args=(message,), daemon=True).start()
        else:
            handle(message)


sessions = set()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def plain(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "text/event-stream" not in self.headers["accept"] or "application/json" not in self.headers["accept"]:
            return self.plain(406)
        if "--key" in FLAGS and self.headers["authorization"] != "Bearer sesame":
            return self.plain(401, b"who are you?")
        method, session = message.get("method"), self.headers["mcp-session-id"]
        if method == "initialize":
            session = f"session-{len(sessions)}-{time.time()}"
            sessions.add(session)
            said = answer(message, None)
            return self.plain(200, json.dumps(said).encode(), content_type="application/json", mcp_session_id=session)
        if session is None or self.headers["mcp-protocol-version"] is None:
            return self.plain(400, b"no session, or no revision")
        if session not in sessions:
            return self.plain(400 if "--vague" in FLAGS else 404, b"Bad Request: no valid session")
        params = message.get("params") or {}
        if method == "tools/call" and params["name"] == "teapot":
            return self.plain(400 if "--vague" in FLAGS else 418, b"I am a teapot")
        if method != "tools/call" or "--stream" not in FLAGS:
            said = answer(message, lambda *_: None)
            if said is None:
                return self.plain(202)
            if "--forget" in FLAGS and method == "tools/call":
                sessions.clear()
            return self.plain(200, json.dumps(said).encode(), content_type="application/json; charset=utf-8")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

        def event(message):
            # In two lines of data.
            self.wfile.write(f"event: message\r\nid: 1\r\ndata: {json.dumps(message)[:1]}\r\ndata: {json.dumps(message)[1:]}\r\n\r\n".encode())
            self.wfile.flush()

        def notify(method, params, request=None):
            event({"jsonrpc": "2.0", "method": method, "params": params, **({"id": request} if request else {})})

        self.wfile.write(b": welcome\r\n\r\n")
        said = answer(message, notify)
        if params["name"] != "busy":
            event(said)
        self.close_connection = True


if "--http" in FLAGS:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    print(server.server_address[1], flush=True)
    server.serve_forever()
else:
    stdio()

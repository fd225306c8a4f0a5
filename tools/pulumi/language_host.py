"""A stand-in for Pulumi's Python language host: put it on PATH as `pulumi-language-python`.

The stock engine starts it for `runtime: python` and talks its own protocol; the program runs in this process with the
ordinary SDK. For tests only: users have the real host, which comes with Pulumi's own installer.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

MAX_MESSAGE_BYTES = 400 << 20


class LanguageHost(LanguageServer):
    """The SDK's own server for inline programs, made to run the program of the project instead."""

    def __init__(self, engine_address: str) -> None:
        super().__init__(lambda: None)
        self.engine_address = engine_address

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's names
        self.engine_address = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version="3.0.0")

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.RuntimeOptionsResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.GetProgramDependenciesResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        program = Path(request.info.program_directory, request.info.entry_point)
        os.chdir(request.pwd or ".")

        def run_program() -> None:
            runpy.run_path(str(program), run_name="__main__")

        self.program = run_program
        del request.args[:]
        request.args.append(self.engine_address)
        answer = super().Run(request, context)
        if answer.error:
            # It is logged already; the real host answers "bail" then, so that it is not printed twice.
            return language_pb2.RunResponse(bail=True)
        return answer


def main(argv: list[str]) -> None:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(argv[-1] if argv else ""), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: sys.exit(0))
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])

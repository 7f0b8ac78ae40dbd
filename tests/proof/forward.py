"""A proxy that forwards every request to the provider and counts nothing: forward.py PORT PROVIDER_URL KEY"""

import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT, PROVIDER, KEY = int(sys.argv[1]), urlsplit(sys.argv[2]), sys.argv[3]


class Forward(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        upstream = http.client.HTTPConnection(PROVIDER.netloc, timeout=60)
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        upstream.request("POST", f"{PROVIDER.path}/chat/completions", body, headers)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        self.send_response(response.status)
        if after := response.headers["retry-after"]:
            self.send_header("retry-after", after)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Forward).serve_forever()

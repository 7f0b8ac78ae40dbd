"""Checks the running compose file. usage: trial.py URL ENVIRONMENT-FILE"""

import collections
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request

import openai

URL, ENVIRONMENT = sys.argv[1:]
LIMITED = "groq/openai/gpt-oss-20b"  # 30 a minute, 1000 a day


def check(passed, text):
    print(("ok    " if passed else "FAILED ") + text, flush=True)
    if not passed:
        raise SystemExit(1)


def shell(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def compose(*words):
    profiles = ("--profile", "demo", "--profile", "observability")
    return shell(".tools/bin/docker-compose", "--env-file", ENVIRONMENT, *profiles, *words)


def containers(service):
    return compose("ps", "--quiet", service).split()


def inspect(container):
    return json.loads(shell("docker", "inspect", container))[0]


def fetch(url, key=None):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            check(False, f"{what} within {seconds} s")
        time.sleep(0.2)


client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)


def ask(model, prompt="hello [[tokens=4 ttft=20 reasoning=0]]", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)


def the_image():
    image = json.loads(shell("docker", "image", "inspect", "tollfree-test/gateway:trial"))[0]
    config = image["Config"]
    check(image["Size"] <= 40_000_000, f"the image has {image['Size'] / 1e6:.1f} MB")
    check(config["User"] == "65532:65532", "its user is numeric and not root")
    check(config["Healthcheck"]["Test"][1:] == ["/usr/local/bin/tollfree", "healthcheck"], "it has a health check")
    check(config["Labels"]["org.opencontainers.image.title"] == "tollfree", "it has labels")
    container = shell("docker", "create", "tollfree-test/gateway:trial").strip()
    files = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    shell("docker", "rm", container)
    names = tarfile.open(fileobj=io.BytesIO(files)).getnames()
    check(not [name for name in names if name.endswith(("/sh", "/bash", "/apt"))], f"{len(names)} files, no shell among them")
    check(b".dep-v0" in files, "the program contains the list of its crates")


def three_replicas():
    gateways = containers("gateway")
    check(len(gateways) == 3, "three replicas are running")
    for gateway in gateways:
        state = inspect(gateway)
        check(state["State"]["Health"]["Status"] == "healthy" and state["HostConfig"]["ReadonlyRootfs"], f"{gateway[:12]} is healthy on a read-only root")
    check(bool(ask("free").choices[0].message.content), "the SDK gets a response through the proxy")
    for path in ("/metrics", "/readyz"):
        try:
            fetch(URL + path)
            check(False, f"{path} is not exposed")
        except urllib.error.HTTPError as error:
            check(error.code == 404, f"{path} is not exposed")


def one_budget(audit):
    got = collections.Counter()
    lock = threading.Lock()

    def caller():
        for _ in range(6):
            try:
                ask(LIMITED)
                kind = "ok"
            except openai.RateLimitError:
                kind = "limited"
            except openai.InternalServerError:  # on a machine too busy to reach Redis within 100 ms
                kind = "without_ledger"
            with lock:
                got[kind] += 1

    callers = [threading.Thread(target=caller) for _ in range(12)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    seen = audit()
    over, refused = seen["windows"]["rpm"]["over"], sum(seen["tally"]["refused"].values())
    check(got["limited"] > 0 and over <= 0 and refused == 0, f"72 requests at once with a limit of 30 per minute: {dict(got)}, {over} over the limit, {refused} rejected by the provider")
    until("every replica served some requests", lambda: replicas_that_answered() == 3, 20)
    check(True, "all three replicas served requests")


def replicas_that_answered():
    lines = compose("logs", "--no-color", "gateway").splitlines()
    return len({line.split("|")[0].strip() for line in lines if "chat/completions" in line or "gen_ai" in line or "request" in line.lower()})


def one_replica_stops_and_one_is_killed():
    reasons = []

    def stream(number):
        text, reason = 0, None
        try:
            for chunk in ask("ollama/llama3.2", "hello [[tokens=20 size=1 chunk=200 ttft=20 reasoning=0]]", stream=True):
                for choice in chunk.choices:
                    text += len(choice.delta.content or "")
                    reason = choice.finish_reason or reason
        except openai.OpenAIError as error:
            reason = repr(error)
        reasons.append(reason if text else f"no text, {reason}")

    streams = [threading.Thread(target=stream, args=(number,)) for number in range(6)]
    for one in streams:
        one.start()
    time.sleep(2)
    stopped = containers("gateway")[0]
    begin = time.monotonic()
    shell("docker", "stop", "--time", "120", stopped)
    took = time.monotonic() - begin
    for one in streams:
        one.join()
    check(reasons == ["stop"] * 6, f"a replica stopped in {took:.1f} s without cutting any of six streams: {reasons}")
    check(inspect(stopped)["State"]["ExitCode"] == 0, "its exit code is 0")
    shell("docker", "start", stopped)
    until("it is healthy again", lambda: inspect(stopped)["State"]["Health"]["Status"] == "healthy")

    victim = containers("gateway")[1]
    shell("docker", "kill", victim)
    lost = 0
    for _ in range(40):
        try:
            ask("ollama/llama3.2")
        except openai.OpenAIError:
            lost += 1
        time.sleep(0.05)
    check(lost <= 1, f"a replica was killed: {lost} of the next 40 requests failed")
    shell("docker", "start", victim)


def used(key):
    providers = fetch(URL + "/v1/status", key)["providers"]
    limits = next(provider for provider in providers if provider["id"] == "groq")["limits"]
    return next(limit["used"] for limit in limits if limit["model"] in LIMITED and limit["limit"] == "rpd")


def redis_restarts():
    time.sleep(2)
    before = used("demo-admin-key-0000")
    compose("restart", "redis")

    def answers():
        try:
            return used("demo-admin-key-0000") > 0
        except OSError:
            return False

    time.sleep(1)
    until("the gateway reports its budget again", answers)
    time.sleep(2)
    after = used("demo-admin-key-0000")
    check(after >= before > 0, f"Redis restarted: {before} requests of the day before, {after} after")


def the_collector():
    def took(signal):
        return sum(int(n) for n in re.findall(rf'"resource {signal}": (\d+)', compose("logs", "--no-color", "collector")))

    until("the collector gets traces", lambda: took("spans") > 0, 30)
    until("the collector gets metrics", lambda: took("metrics") > 0, 90)
    check(True, f"the collector received batches of {took('spans')} traces, {took('metrics')} metrics, {took('logs')} logs")


def main():
    providers = next(iter(inspect(containers("providers")[0])["NetworkSettings"]["Networks"].values()))["IPAddress"]
    audit = lambda: fetch(f"http://{providers}:4100/_audit")["providers"]["groq"]["accounts"]["main"]["openai/gpt-oss-20b"]
    the_image()
    three_replicas()
    one_budget(audit)
    one_replica_stops_and_one_is_killed()
    redis_restarts()
    the_collector()


main()

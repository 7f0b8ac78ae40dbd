"""The running compose file, as its user meets it. usage: trial.py URL ENVIRONMENT-FILE"""

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


def must(right, text):
    print(("ok    " if right else "WRONG ") + text, flush=True)
    if not right:
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
            must(False, f"{what} within {seconds} s")
        time.sleep(0.2)


client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)


def ask(model, prompt="hello [[tokens=4 ttft=20 reasoning=0]]", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)


def the_image():
    image = json.loads(shell("docker", "image", "inspect", "tollfree-test/gateway:trial"))[0]
    config = image["Config"]
    must(image["Size"] <= 40_000_000, f"the image has {image['Size'] / 1e6:.1f} MB")
    must(config["User"] == "65532:65532", "its user is a number, and not root")
    must(config["Healthcheck"]["Test"][1:] == ["/usr/local/bin/tollfree", "healthcheck"], "it checks its own health")
    must(config["Labels"]["org.opencontainers.image.title"] == "tollfree", "it is labelled")
    container = shell("docker", "create", "tollfree-test/gateway:trial").strip()
    files = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    shell("docker", "rm", container)
    names = tarfile.open(fileobj=io.BytesIO(files)).getnames()
    must(not [name for name in names if name.endswith(("/sh", "/bash", "/apt"))], f"{len(names)} files, no shell among them")
    must(b".dep-v0" in files, "the list of its crates is in the program")


def three_replicas():
    gateways = containers("gateway")
    must(len(gateways) == 3, "three replicas run")
    for gateway in gateways:
        state = inspect(gateway)
        must(state["State"]["Health"]["Status"] == "healthy" and state["HostConfig"]["ReadonlyRootfs"], f"{gateway[:12]} is healthy on a read-only root")
    must(bool(ask("free").choices[0].message.content), "the SDK gets an answer through the proxy")
    for path in ("/metrics", "/readyz"):
        try:
            fetch(URL + path)
            must(False, f"{path} is not offered outside")
        except urllib.error.HTTPError as refusal:
            must(refusal.code == 404, f"{path} is not offered outside")


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
            except openai.InternalServerError:  # on a machine too busy to ask Redis within 100 ms
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
    must(got["limited"] > 0 and over <= 0 and refused == 0, f"72 asked at once on 30 a minute: {dict(got)}, {over} over, {refused} refused by the provider")
    until("every replica has had some of it", lambda: replicas_that_answered() == 3, 20)
    must(True, "spread over all three")


def replicas_that_answered():
    lines = compose("logs", "--no-color", "gateway").splitlines()
    return len({line.split("|")[0].strip() for line in lines if "chat/completions" in line or "gen_ai" in line or "request" in line.lower()})


def one_leaves_and_one_dies():
    told = []

    def stream(number):
        text, reason = 0, None
        try:
            for chunk in ask("ollama/llama3.2", "hello [[tokens=20 size=1 chunk=200 ttft=20 reasoning=0]]", stream=True):
                for choice in chunk.choices:
                    text += len(choice.delta.content or "")
                    reason = choice.finish_reason or reason
        except openai.OpenAIError as error:
            reason = repr(error)
        told.append(reason if text else f"nothing, {reason}")

    streams = [threading.Thread(target=stream, args=(number,)) for number in range(6)]
    for one in streams:
        one.start()
    time.sleep(2)
    leaver = containers("gateway")[0]
    begin = time.monotonic()
    shell("docker", "stop", "--time", "120", leaver)
    took = time.monotonic() - begin
    for one in streams:
        one.join()
    must(told == ["stop"] * 6, f"a replica left in {took:.1f} s, and none of six streams was cut: {told}")
    must(inspect(leaver)["State"]["ExitCode"] == 0, "it ended well")
    shell("docker", "start", leaver)
    until("it is back", lambda: inspect(leaver)["State"]["Health"]["Status"] == "healthy")

    victim = containers("gateway")[1]
    shell("docker", "kill", victim)
    lost = 0
    for _ in range(40):
        try:
            ask("ollama/llama3.2")
        except openai.OpenAIError:
            lost += 1
        time.sleep(0.05)
    must(lost <= 1, f"a replica was killed: {lost} of the next 40 lost")
    shell("docker", "start", victim)


def used(key):
    providers = fetch(URL + "/v1/status", key)["providers"]
    limits = next(provider for provider in providers if provider["id"] == "groq")["limits"]
    return next(limit["used"] for limit in limits if limit["model"] in LIMITED and limit["limit"] == "rpd")


def redis_restarts():
    time.sleep(2)
    before = used("demo-admin-key")
    compose("restart", "redis")

    def answers():
        try:
            return used("demo-admin-key") > 0
        except OSError:
            return False

    time.sleep(1)
    until("the gateway knows its budget again", answers)
    time.sleep(2)
    after = used("demo-admin-key")
    must(after >= before > 0, f"Redis restarted: {before} of the day used before, {after} after")


def the_collector():
    def took(signal):
        return sum(int(n) for n in re.findall(rf'"resource {signal}": (\d+)', compose("logs", "--no-color", "collector")))

    until("the collector gets traces", lambda: took("spans") > 0, 30)
    until("the collector gets metrics", lambda: took("metrics") > 0, 90)
    must(True, f"the collector took batches of {took('spans')} traces, {took('metrics')} metrics, {took('logs')} logs")


def main():
    providers = next(iter(inspect(containers("providers")[0])["NetworkSettings"]["Networks"].values()))["IPAddress"]
    audit = lambda: fetch(f"http://{providers}:4100/_audit")["providers"]["groq"]["accounts"]["main"]["openai/gpt-oss-20b"]
    the_image()
    three_replicas()
    one_budget(audit)
    one_leaves_and_one_dies()
    redis_restarts()
    the_collector()


main()

"""What a team's day does to an install, all in a few minutes and under load. usage: trial.py CHART VALUES WORLD

Two kinds of callers, both with the official OpenAI SDK, through the Service:
  200 streams, open all the time, of a model with room for everybody: none may be cut or refused,
  and a crowd on a model of 120 requests a minute: its window must hold, whatever becomes of the replicas.

Prints what was found. The first finding that is not as it must be ends it, with exit code 1.
"""

import asyncio
import base64
import collections
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import openai

CHART, VALUES = sys.argv[1:]
SPACE = "llm"
STREAMS = 200
CROWD = 30
WIDE, NARROW = "mistral/mistral-medium-2604", "mistral/mistral-small-2603"
NARROW_RPM = 120
PROMPT = "hello [[tokens=24 size=1 reasoning=0 ttft=100 chunk=800]]"  # a stream of about 20 s
SHORT = "hello [[tokens=2 reasoning=0 ttft=20 chunk=1]]"


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def must(right, text):
    say(("ok    " if right else "WRONG ") + text)
    if not right:
        raise SystemExit(1)


def shell(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*words, check=True):
    return shell("kubectl", "-n", SPACE, *words, check=check)


def got(*words):
    return json.loads(kubectl("get", *words, "-o", "json"))


def helm(*words):
    return shell("helm", "-n", SPACE, *words)


def secret(name, key):
    return base64.b64decode(got("secret", name)["data"][key]).decode()


def pods(component="gateway"):
    """Name → address of those that are there and not on their way out."""
    found = got("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
    return {
        pod["metadata"]["name"]: pod["status"].get("podIP")
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
    }


def leaving():
    found = got("pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" in pod["metadata"]]


def ready():
    return got("deployment", "tollfree")["status"].get("readyReplicas", 0)


async def until(what, condition, seconds=180):
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            must(False, f"{what} within {seconds} s")
        await asyncio.sleep(0.5)


def address(service):
    spec = got("service", service)["spec"]
    return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def fetch(url, key=None):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


class Load:
    """The callers, and what became of each request."""

    def __init__(self, base_url, key):
        self.client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=120)
        self.patient = self.client.with_options(max_retries=3)
        self.over = False
        self.may_retry = False
        self.hold = asyncio.Event()  # cleared: nobody begins
        self.hold.set()
        self.open = {}  # number of a stream → the port it comes from
        self.done = 0
        self.failed = []  # (when, what, port)
        self.refused = collections.Counter()
        self.narrow = collections.Counter()
        self.callers = []

    def start(self):
        self.callers = [asyncio.create_task(self.stream(number)) for number in range(STREAMS)]
        self.callers += [asyncio.create_task(self.crowd(number)) for number in range(CROWD)]

    async def stop(self):
        self.over = True
        await asyncio.gather(*self.callers)

    async def stream(self, number):
        await asyncio.sleep(number * 0.05)  # not all in one instant
        while not self.over:
            await self.hold.wait()
            client = self.patient if self.may_retry else self.client
            port, text, reason = None, 0, None
            try:
                messages = [{"role": "user", "content": PROMPT}]
                stream = await client.chat.completions.create(model=WIDE, messages=messages, stream=True)
                port = stream.response.extensions["network_stream"].get_extra_info("client_addr")[1]
                self.open[number] = port
                async for chunk in stream:
                    for choice in chunk.choices:
                        text += len(choice.delta.content or "")
                        reason = choice.finish_reason or reason
                if reason != "stop" or not text:
                    raise RuntimeError(f"ended early: {text} characters, finish_reason {reason}")
                self.done += 1
            except openai.APIStatusError as refusal:
                self.failed.append((time.monotonic(), f"{refusal.status_code} {refusal.code}", port))
                await asyncio.sleep(float(refusal.response.headers.get("retry-after-ms", 1000)) / 1000)
            except Exception as error:  # whatever it is, it is a request that did not end well
                self.failed.append((time.monotonic(), f"{type(error).__name__}: {error}", port))
                await asyncio.sleep(0.2)
            finally:
                self.open.pop(number, None)

    async def crowd(self, number):
        await asyncio.sleep(number * 0.1)
        messages = [{"role": "user", "content": SHORT}]
        while not self.over:
            pause = 0.1
            try:
                await self.patient.with_options(max_retries=0).chat.completions.create(model=NARROW, messages=messages)
                self.narrow[200] += 1
            except openai.APIStatusError as refusal:
                self.narrow[refusal.status_code] += 1
                pause = float(refusal.response.headers.get("retry-after-ms", 1000)) / 1000
            except openai.APIConnectionError:
                self.narrow["broken"] += 1
            await asyncio.sleep(min(pause, 15) + number * 0.01)

    def since(self, mark):
        return [failure for failure in self.failed if failure[0] >= mark]

    async def full(self):
        await until(f"{STREAMS} streams are open", lambda: len(self.open) >= STREAMS * 0.9, 120)


def ports_of(address):
    """Ports of this machine whose connections go to that pod."""
    seen = shell("conntrack", "-L", "-p", "tcp")
    pattern = re.compile(rf"ESTABLISHED src=\S+ dst=\S+ sport=(\d+) dport=\d+ src={re.escape(address)} ")
    return {int(port) for port in pattern.findall(seen)}


def install():
    begin = time.monotonic()
    helm("install", "tollfree", CHART, "--values", VALUES, "--wait", "--timeout", "5m")
    must(ready() == 3, f"installed: 3 replicas ready after {time.monotonic() - begin:.1f} s")
    nodes = {pod["spec"]["nodeName"] for pod in got("pods", "-l", "app.kubernetes.io/component=gateway")["items"]}
    must(nodes == {"node1", "node2"}, f"spread over {sorted(nodes)}")
    helm("test", "tollfree")
    must(True, "helm test")
    before, keys = pods(), (secret("tollfree", "admin-key"), secret("tollfree-redis", "redis-password"))
    redis = pods("redis")
    helm("upgrade", "tollfree", CHART, "--values", VALUES, "--wait")
    after = (secret("tollfree", "admin-key"), secret("tollfree-redis", "redis-password"))
    must(keys == after and len(keys[0]) > 40, "an upgrade keeps the made admin key and the password of Redis")
    must(pods() == before and pods("redis") == redis, "and rolls nothing when nothing changed")
    return keys[0]


def smoke(base_url, key):
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    names = [model.id for model in client.models.list()]
    must(names[0] == "free" and WIDE in names, f"the SDK lists {len(names)} models")
    answer = client.chat.completions.create(model="free", messages=[{"role": "user", "content": SHORT}])
    must(bool(answer.choices[0].message.content), "and gets its first answer")
    try:
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0).models.list()
        must(False, "a wrong key is refused")
    except openai.AuthenticationError:
        must(True, "a wrong key is refused")


async def gone(load, mark, what):
    """Those who were told to go have gone, and took their time: nothing was lost."""
    await until("the old pods have gone", lambda: not leaving(), 400)
    lost = load.since(mark)
    must(not lost, f"{what}: {load.done} streams whole so far, {len(lost)} lost {lost[:3]}")


async def rolling_update(load):
    await load.full()
    mark, begin, before = time.monotonic(), time.monotonic(), set(pods())
    upgrade = ("upgrade", "tollfree", CHART, "--values", VALUES, "--set", "podAnnotations.trial=two", "--wait", "--timeout", "8m")
    await asyncio.to_thread(helm, *upgrade)
    say(f"      rolled in {time.monotonic() - begin:.1f} s, {len(leaving())} still finish their streams")
    must(not before & set(pods()), "every pod is a new one")
    await gone(load, mark, "rolling update under 200 streams")


async def kill(load):
    await load.full()
    name, victim = next(iter(pods().items()))
    load.may_retry = True
    mark = time.monotonic()
    on_it = await asyncio.to_thread(ports_of, victim)
    theirs = {port for port in load.open.values() if port in on_it}
    uid = got("pod", name)["metadata"]["uid"]
    pid = next(int(entry) for entry in os.listdir("/proc") if entry.isdigit() and is_program_of(int(entry), uid))
    on_it |= ports_of(victim)
    os.kill(pid, 9)
    say(f"      killed {name} with {len(theirs)} streams on it")
    await asyncio.sleep(1)
    await until("it is back", lambda: ready() == 3)
    await asyncio.sleep(3)
    lost = load.since(mark)
    others = [failure for failure in lost if failure[2] not in on_it]
    must(not others, f"pod killed: {len(lost)} streams lost, all of them its own; {len(others)} others {others[:3]}")
    must(len(lost) >= len(theirs) // 2 > 0, "and it did have streams")
    load.may_retry = False


def is_program_of(pid, uid):
    """The gateway of that pod."""
    try:
        with open(f"/proc/{pid}/cgroup") as cgroup, open(f"/proc/{pid}/cmdline", "rb") as line:
            return uid in cgroup.read().replace("_", "-") and b"tollfree" in line.read()
    except OSError:
        return False


async def scale(load):
    for count in (2, 5, 2):
        await load.full()
        mark, begin = time.monotonic(), time.monotonic()
        change = ("upgrade", "tollfree", CHART, "--values", VALUES, "--set", f"podAnnotations.trial=two,replicaCount={count}", "--wait")
        await asyncio.to_thread(helm, *change)
        await until(f"{count} replicas are ready", lambda count=count: ready() == count and len(pods()) == count)
        say(f"      {count} replicas after {time.monotonic() - begin:.1f} s")
        await gone(load, mark, f"scaled to {count}")
        if count == 5:
            tried = await asyncio.to_thread(helm, *change[:5], "--set", "autoscaling.enabled=true", "--dry-run=server")
            must("replicas: 5\n" in tried, "with an autoscaler an upgrade keeps the present number of replicas")


def used_of_the_day(key, base_url):
    providers = fetch(f"{base_url}/status", key)["providers"]
    limits = next(provider for provider in providers if provider["id"] == "mistral")["limits"]
    return next(limit["used"] for limit in limits if limit["model"] in WIDE and limit["limit"] == "rpd")


async def redis_deleted(load, key, base_url, providers):
    await load.full()
    before, _ = await counts(load, key, base_url, providers)
    mark, begin = time.monotonic(), time.monotonic()
    await asyncio.to_thread(kubectl, "delete", "pod", "tollfree-redis-0", "--wait=false")
    await asyncio.sleep(2)
    redis = lambda: got("statefulset", "tollfree-redis")["status"].get("readyReplicas", 0) == 1
    await until("Redis is back", redis)
    back = time.monotonic()
    done = load.done
    await until("streams begin again", lambda: load.done > done, 60)
    lost = [failure for failure in load.since(mark) if not failure[1].startswith("503 ledger_unavailable")]
    told = len(load.since(mark)) - len(lost)
    last = max((failure[0] for failure in load.since(mark)), default=back)
    say(f"      Redis was away for {back - begin:.1f} s by its probe; {told} requests were told so, the last {last - back:+.1f} s after it")
    must(not lost, f"Redis deleted: no open stream was cut, {len(lost)} lost {lost[:3]}")
    must(last - back < 3, "and refusals end with it")
    after, asked = await counts(load, key, base_url, providers)
    must(after >= before > 0, f"counts came back from its file: {before} of the day used before, {after} after")
    must(after >= asked, f"none is missing: the provider was asked {asked} times, {after} are counted")


async def counts(load, key, base_url, providers):
    """Used of the day, and how often the provider was asked: while nobody begins, so that both speak of the same."""
    load.hold.clear()
    await asyncio.sleep(3)
    models = fetch(f"{providers}/_audit")["providers"]["mistral"]["accounts"]["main"]
    used = await asyncio.to_thread(used_of_the_day, key, base_url)
    load.hold.set()
    await asyncio.sleep(1)
    return used, models[WIDE.split("/")[1]]["tally"]["admitted"]


def judge(providers, load):
    models = fetch(f"{providers}/_audit")["providers"]["mistral"]["accounts"]["main"]
    for model in (WIDE, NARROW):
        seen = models[model.split("/")[1]]
        window = seen["windows"]["rpm"]
        refused = sum(seen["tally"]["refused"].values())
        text = f"{model}: {window['most_in_any_span']} of {window['limit']} in the fullest minute, {refused} refused by the provider"
        must(window["over"] <= 0 and refused == 0, text)
    say(f"      the crowd on {NARROW_RPM} a minute got {dict(load.narrow)}")


async def main():
    begin = time.monotonic()
    key = await asyncio.to_thread(install)
    base_url, providers = address("tollfree") + "/v1", address("providers")
    await asyncio.to_thread(smoke, base_url, key)
    load = Load(base_url, key)
    load.start()
    await rolling_update(load)
    await kill(load)
    await scale(load)
    await redis_deleted(load, key, base_url, providers)
    await load.stop()
    judge(providers, load)
    helm("uninstall", "tollfree", "--wait")
    must(not pods() and not pods("redis"), "uninstalled")
    say(f"all of it in {time.monotonic() - begin:.0f} s, {load.done} streams whole")


asyncio.run(main())

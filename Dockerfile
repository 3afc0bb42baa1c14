# The one image: `agent-comms …`, `python -m bytewax.run flows.ingest` and gunicorn with the pages, as a user without rights.
#
#     docker build --tag agent-comms:0.1.0 .
#
# Pin the base by what you have tried: docker build --build-arg PYTHON=python:3.12-slim-bookworm@sha256:… .
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/agent-comms
# What rarely changes comes first. Nothing is taken whose hash is not known, what builds a wheel neither.
COPY .ci/requirements-build.lock .ci/requirements-runtime.lock ./
RUN pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r requirements-build.lock \
    && pip --python /opt/build/bin/python wheel --require-hashes --no-deps --no-build-isolation \
        --wheel-dir wheels -r requirements-runtime.lock \
    && pip --python /opt/agent-comms/bin/python install --no-index --no-deps wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY connectors connectors
COPY flows flows
COPY gitops gitops
COPY sql sql
COPY web web
RUN /opt/build/bin/python -m hatchling build --target wheel \
    && pip --python /opt/agent-comms/bin/python install --no-index --no-deps dist/*.whl \
    && /opt/agent-comms/bin/python -m compileall -q /opt/agent-comms/lib

FROM ${PYTHON}
LABEL org.opencontainers.image.title=agent-comms \
      org.opencontainers.image.licenses=Apache-2.0
# No package manager for whoever gets in.
RUN pip uninstall --yes --quiet pip setuptools wheel 2>/dev/null; \
    groupadd --system --gid 10001 agent-comms \
    && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin agent-comms
COPY --from=build /opt/agent-comms /opt/agent-comms
COPY web/gunicorn.conf.py /etc/agent-comms/gunicorn.conf.py
ENV PATH=/opt/agent-comms/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 8080 9464
ENTRYPOINT ["agent-comms"]
CMD ["--help"]

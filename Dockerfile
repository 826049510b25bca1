# The service as an image: `docker build -t gradd .`. The first stage installs into a virtual environment, the second
# takes that environment and nothing else, so neither pip's leftovers nor the sources stay behind.

FROM python:3.13-slim AS build

# Where pip gets packages from, for builders behind a mirror or a proxy. Empty unless given with --build-arg.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
RUN python3 -m venv --without-pip /opt/gradd

# Dependencies first: this layer is built again when they change, not whenever a line of code does.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      extras = p['optional-dependencies']; \
      print(*p['dependencies'], *extras['postgres'], *extras['otel'], sep='\n')" \
      > requirements.txt \
 && python3 -m pip --python /opt/gradd/bin/python install --only-binary :all: --requirement requirements.txt

COPY . .
RUN python3 -m pip --python /opt/gradd/bin/python install --no-deps .


FROM python:3.13-slim

LABEL org.opencontainers.image.title="gradd" \
      org.opencontainers.image.description="A gradient server: POST a graph of tensors and ops, get gradients and the DAG" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.authors="the gradd developers"

# A number, because orchestrators that demand a non-root user cannot look a name up.
RUN groupadd --gid 10001 gradd \
 && useradd --uid 10001 --gid gradd --no-create-home --home-dir /tmp --shell /usr/sbin/nologin gradd \
 # What a volume for registered graphs is mounted on; a new volume has the owner of the folder.
 && install --directory --owner gradd --group gradd --mode 0700 /var/lib/gradd
COPY --from=build /opt/gradd /opt/gradd

# The root file system may be read-only, so nothing is written beside the code.
ENV PATH=/opt/gradd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONFAULTHANDLER=1

USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM

# http.client, because it is the quickest to import, and because it ignores a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); \
c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["gradd", "serve", "--host", "0.0.0.0", "--port", "8000"]

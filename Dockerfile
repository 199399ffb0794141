# One image for every service; the command chooses which. Built and run as a non-root user.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# torch's CPU build is smaller by gigabytes: give its index as TORCH_INDEX_URL, or leave it out for the default.
ARG TORCH_INDEX_URL=""
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY platform platform
COPY pipelines pipelines
COPY monitors monitors
COPY registry registry
RUN PIP_CONSTRAINT=constraints.txt /venv/bin/pip install ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 platform && mkdir -p /data/reports && chown -R platform /data
COPY --from=build /venv /venv
COPY alerts.yaml /etc/mlplatform/alerts.yaml
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    PLATFORM_HOME=/data PLATFORM_ALERTS_FILE=/etc/mlplatform/alerts.yaml
USER platform
WORKDIR /data
VOLUME /data
CMD ["platform", "--help"]

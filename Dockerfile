# The server, in one image for all its roles: serve (everything at once), or web, worker, light, safety and migrate one
# by one.
#
#   docker build --tag qwen-image-studio:0.3.0 .
#   docker build --tag qwen-image-studio:0.3.0-cpu --build-arg BASE=ubuntu:24.04 \
#       --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .
#
# The first has torch for CUDA 13.0 (driver 580 or newer) and is for workers with a card; the second has torch for
# processors and is for all else. torch's packages bring CUDA's libraries along, so NVIDIA's smallest image is the base:
# it has what an older driver of a data centre needs to run them, and tells the container runtime to mount the driver.
ARG BASE=nvidia/cuda:13.0.2-base-ubuntu24.04
FROM ${BASE}

ARG VERSION=0.3.0
LABEL org.opencontainers.image.title="Qwen-Image Studio" \
      org.opencontainers.image.description="Self-hosted image server: durable jobs painted by Qwen-Image models" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

WORKDIR /opt/build
COPY deploy/install.sh deploy/
RUN sh deploy/install.sh system

# What changes rarely comes first: a new version of the server alone makes only the last layer anew.
ARG PIP_EXTRA_INDEX_URL=""
COPY server/requirements.txt server/constraints.txt server/
RUN --mount=type=cache,target=/root/.cache/pip sh deploy/install.sh packages /opt/qwen-image-studio

COPY LICENSE NOTICE /opt/qwen-image-studio/
COPY server/pyproject.toml server/README.md server/
COPY server/qwen_image_studio server/qwen_image_studio
RUN --mount=type=cache,target=/root/.cache/pip sh deploy/install.sh server /opt/qwen-image-studio

# /data: what one host keeps for itself, and without a database and a store of pictures elsewhere everything.
# /weights: models. /compiled: what torch has compiled; it can be thrown away.
ENV PATH="/opt/qwen-image-studio/bin:${PATH}" \
    STUDIO_HOST=0.0.0.0 \
    STUDIO_PORT=8300 \
    STUDIO_DATA_DIR=/data \
    HF_HOME=/weights/huggingface \
    MODELSCOPE_CACHE=/weights/modelscope \
    TORCHINDUCTOR_CACHE_DIR=/compiled \
    CUDA_DEVICE_ORDER=PCI_BUS_ID
VOLUME ["/data", "/weights", "/compiled"]
WORKDIR /home/studio
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8300
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m --retries=3 \
    CMD ["python", "-m", "qwen_image_studio.host.probe"]
ENTRYPOINT ["tini", "--", "qwen-image-studio"]
CMD ["serve"]

# snntha with PyTorch's build for the CPU:
#   docker build -t snntha .
#   docker run --rm -v "$PWD/outputs:/work/outputs" -v "$PWD/data:/work/data" snntha train
FROM python:3.12-slim

# gcc: sizes of `snntha export format=c` and its check in `snntha verify`
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/snntha
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY snntha snntha
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir '.[export]'

WORKDIR /work
ENV SNNTHA_DATA=/work/data SNNTHA_CACHE=/work/outputs/.cache NUMBA_CACHE_DIR=/work/outputs/.cache/numba
ENTRYPOINT ["snntha"]

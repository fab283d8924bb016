# The workflow with its locked environment; uses the GPUs that the container is given:
#   docker build -t lm-steer . && docker run --gpus all -v "$PWD/out:/lm-steer/results" lm-steer --cores all
FROM python:3.11-slim-bookworm

# torch's wheel of the registry brings its CUDA libraries; the driver comes from the host through these two.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*

WORKDIR /lm-steer
# First what changes least: an edit of the code does not install the environment again.
COPY Makefile pyproject.toml README.md LICENSE ./
COPY envs envs
COPY lm_steer lm_steer
RUN make setup
COPY . .

ENV PATH=/lm-steer/.venv/bin:$PATH
ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]

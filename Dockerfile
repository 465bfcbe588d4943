# The image of the sidecar. Each step is a script in deploy/image, which the tests run without a container engine.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY deploy/lock/runtime.txt deploy/lock/runtime.txt
COPY deploy/image/install-dependencies.sh deploy/image/install-dependencies.sh
RUN deploy/image/install-dependencies.sh /opt/usher
COPY . .
RUN deploy/image/install-usher.sh /opt/usher

FROM python:3.11-slim-bookworm
COPY --from=build /opt/usher /opt/usher
# No shell or home is needed; the root file system may be read-only, /tmp being a tmpfs.
USER 65532:65532
ENV PATH=/opt/usher/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    USHER_LOG_FORMAT=json \
    USHER_HTTP_ADDRESS=0.0.0.0:8080 \
    USHER_ADMIN_HTTP_ADDRESS=0.0.0.0:9090
EXPOSE 8080 9090 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["usher", "health"]
ENTRYPOINT ["usher"]
CMD ["serve"]

# Debian's Prometheus where prom/prometheus cannot be pulled: same paths, user and entry point.
FROM python:3.11-slim-bookworm
COPY prometheus promtool /bin/
RUN install -d -o nobody -g nogroup /prometheus
USER 65534
WORKDIR /prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]

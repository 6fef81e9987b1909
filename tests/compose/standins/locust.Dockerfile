# Locust from PyPI where locustio/locust cannot be pulled: same user and entry point.
FROM python:3.11-slim-bookworm
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt locust && useradd --uid 1000 --create-home locust
USER 1000
WORKDIR /home/locust
ENTRYPOINT ["locust"]

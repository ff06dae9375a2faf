# syntax=docker/dockerfile:1
FROM localhost/base:1
ARG PYTHON_VERSION=3.12
ENV PYTHONUNBUFFERED=1 PYTHON=/opt/python/${PYTHON_VERSION} VIRTUAL_ENV=/opt/venv
ENV PATH="$VIRTUAL_ENV/bin:$PYTHON/bin:$PATH"
RUN mkdir -p "$PYTHON/bin" "$VIRTUAL_ENV/bin" \
 && printf '#!/bin/sh\necho %s "$@"\n' "$PYTHON_VERSION" > "$PYTHON/bin/python" \
 && chmod 755 "$PYTHON/bin/python" \
 && ln -s "$PYTHON/bin/python" "$VIRTUAL_ENV/bin/python"
RUN python --version > /version
WORKDIR /app
COPY app/README.md .
CMD ["python", "-m", "app"]

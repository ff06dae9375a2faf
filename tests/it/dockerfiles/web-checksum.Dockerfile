# syntax=docker/dockerfile:1
FROM localhost/base:1
ADD --checksum=sha256:e4c54447901d338f6866db34c740bcebdd5d2845a2ea7e72f804a0df83ee0bd3 http://127.0.0.1:8765/app/README.md /checked/

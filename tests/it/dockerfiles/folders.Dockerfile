FROM localhost/base:1
RUN mkdir -p /there/lib && echo kept > /there/lib/kept && echo replaced > /there/main.c && chmod 700 /there
COPY app /there
COPY app /new
COPY app/ /new-slash/
COPY app/lib app/README.md /several/
COPY app/README.md /renamed
COPY app/README.md /into/
COPY app/README.md deep/down/renamed
COPY conf/empty /empty
COPY conf/empty/ /one/two/three
WORKDIR /work
COPY app/main.c .
COPY app/lib ./
COPY app/README.md ../beside

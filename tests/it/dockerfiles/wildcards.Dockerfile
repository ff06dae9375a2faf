FROM localhost/base:1
COPY app/*.md app/*.c /one/
COPY app/lib/util.? /two/
COPY conf/[a-n]*.conf /three/
COPY app/*/*.h /four/
COPY ap[p-z] /five/
COPY */README.md /six/
COPY con*/site.conf /seven

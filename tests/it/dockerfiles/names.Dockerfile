FROM localhost/base:1
COPY ["odd/a b.txt", "/with space/"]
COPY ["odd/a b.txt", "odd/c.txt", "/target dir/"]
COPY odd/ü.txt /
COPY odd /odd
COPY "odd/c.txt" /quoted/

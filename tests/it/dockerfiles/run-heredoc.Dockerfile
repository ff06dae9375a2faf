# syntax=docker/dockerfile:1
FROM localhost/base:1
ARG WHO=world
RUN <<END
echo "hello $WHO" > /one
echo two > /two
END
RUN <<-'END' cat > /three
	tabs are gone
	$WHO
END
RUN <<END sh
#!/bin/sh
echo four > /four
END
RUN <<FIRST cat > /five && <<SECOND cat >> /five
first
FIRST
second
SECOND
RUN <<END
#!/bin/busybox cat
a script
END

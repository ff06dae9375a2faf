FROM localhost/base:1
ADD archives/plain.tar /plain/
ADD archives/tree.tar.gz /gzip
ADD archives/tree.tar.bz2 /bzip2/
ADD archives/tree.tgx /xz/
ADD archives/not.tar.gz /not/
ADD archives/text.gz /kept/
ADD app/README.md archives/plain.tar /mixed/
COPY archives/plain.tar /copied/

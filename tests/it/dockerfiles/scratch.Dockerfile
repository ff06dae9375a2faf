FROM scratch
COPY app/README.md /
ADD archives/plain.tar /
COPY conf /etc/conf/
ENV ONLY=this
WORKDIR /data
LABEL from=scratch
CMD ["/program"]

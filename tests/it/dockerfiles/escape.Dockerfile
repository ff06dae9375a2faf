# escape=`
FROM localhost/base:1
ENV BACKSLASH=C:\Windows TICK=a`$b
RUN echo one `
    two `
    # a comment
    three > /words
COPY app/README.md `
     /read/
CMD ["cmd", "C:\\path"]

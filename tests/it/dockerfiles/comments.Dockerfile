
# The first lines are empty.
   # This one is indented.
FROM localhost/base:1
   ENV INDENTED=yes
RUN echo '# not a comment' > /hash && \
# this is one

    echo "end # neither" >> /hash
CMD ["a", "b"] 

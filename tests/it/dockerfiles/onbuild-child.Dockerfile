#: --build-arg FROM_TRIGGER=given
#: after onbuild-parent
FROM localhost/onbuild-parent
RUN cat /triggered > /seen; echo "$TRIGGERED $FROM_TRIGGER" >> /seen

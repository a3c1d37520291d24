"""The exported sampler: what it can be asked for, how it is written, and how a server is asked.

    contract                 names, types and shapes of all signatures; without TensorFlow
    request                  which signature is asked, and its inputs; without TensorFlow
    specs                    the contract in TensorFlow's terms
    stored                   weights in a smaller type than the network computes with
    signatures               the functions of every export
    conditional_signatures   the functions of conditional sampling
    assets                   what TensorFlow Serving reads beside a model
    metadata                 what an export says of itself
    versions                 a folder of numbered versions, each of which appears whole
    export                   a run's sampler as the next version
    transport                a way to a server: addresses, failures, `Transport`
    transport_grpc           one over gRPC
    transport_rest           one over REST
    retries                  requests that failed are sent again
    served_version           which version of a model is drawn from
    client                   images from a server
    in_flight                requests at the same time
    export_origin            images from an export
    server_origin            images from a server

`contract`, `request`, `client` and what the client uses import no TensorFlow, so that a client over
REST starts at once. Generation and commands may import this package.
"""

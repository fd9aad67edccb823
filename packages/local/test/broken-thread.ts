/** A thread that says that its servers have started, and breaks at the first call. */
import { parentPort } from 'node:worker_threads'

parentPort?.once('message', () => {
  throw new RangeError('out of something')
})
parentPort?.postMessage({ kinesisPort: 1, kinesisTlsPort: undefined, dynamodbPort: undefined, certificate: undefined })

import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer, type ConsumerOptions } from '@shardwise/consumer'

const options = JSON.parse(process.argv[2] ?? '') as ConsumerOptions
let handled = 0
const consumer = new Consumer({ ...options, onEvent: (event) => event.type === 'recordsRead' && void consumer.close() })
await consumer.run({ eachRecord: () => void handled++ })
console.log(`handled ${handled > 0}`)
// The kernel may still be closing a socket.
await sleep(50)
console.log(`left ${process.getActiveResourcesInfo().filter((name) => /TCP|Timeout/.test(name)).length}`)

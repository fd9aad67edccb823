import { X509Certificate } from 'node:crypto'
import { connect } from 'node:http2'
import { Agent } from 'node:https'
import { connect as connectTls, getCACertificates, setDefaultCACertificates } from 'node:tls'
import { KinesisClient, ListStreamsCommand, PutRecordCommand } from '@aws-sdk/client-kinesis'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Local, startLocal } from '../src/local.ts'

let local: Local
beforeAll(async () => {
  local = await startLocal({ streams: { orders: 1 }, dynamodb: false, tls: true })
})
afterAll(() => local.stop())

test('the certificate is for localhost and the loopback addresses', () => {
  const certificate = new X509Certificate(local.certificate)
  expect(certificate.checkHost('localhost')).toBe('localhost')
  expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1')
  expect(certificate.checkIP('::1')).toBe('::1')
  expect(certificate.checkHost('example.com')).toBeUndefined()
})

test('an HTTP/1.1 client that trusts the certificate reaches the same streams', async () => {
  const requestHandler = new NodeHttpHandler({ httpsAgent: new Agent({ ca: local.certificate }) })
  const kinesis = new KinesisClient({ ...local.kinesis, endpoint: local.kinesisTlsEndpoint, requestHandler })
  try {
    const put = new PutRecordCommand({ StreamName: 'orders', PartitionKey: 'a', Data: Buffer.from('a') })
    expect((await kinesis.send(put)).ShardId).toBe('shardId-000000000000')
  } finally {
    kinesis.destroy()
  }
})

test('HTTP/2 is negotiated', async () => {
  const session = connect(local.kinesisTlsEndpoint, { ca: local.certificate })
  await new Promise((resolve, reject) => session.once('connect', resolve).once('error', reject))
  expect(session.alpnProtocol).toBe('h2')
  session.destroy()
})

test('HTTP/2 is understood without having been negotiated, as the SDK for Java speaks it', async () => {
  const { port } = new URL(local.kinesisTlsEndpoint)
  const createConnection = () => connectTls({ port: Number(port), host: '127.0.0.1', ca: local.certificate })
  const session = connect(local.kinesisTlsEndpoint, { createConnection })
  const stream = session.request({
    ':method': 'POST',
    'content-type': 'application/x-amz-json-1.1',
    'x-amz-target': 'Kinesis_20131202.ListStreams',
  })
  stream.end('{}')
  expect(JSON.parse((await stream.setEncoding('utf8').toArray()).join(''))).toMatchObject({ StreamNames: ['orders'] })
  session.destroy()
})

test('the SDK, which speaks HTTP/2, works when the certificate is among those of the process', async () => {
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, local.certificate])
  const kinesis = new KinesisClient({ ...local.kinesis, endpoint: local.kinesisTlsEndpoint })
  try {
    expect((await kinesis.send(new ListStreamsCommand())).StreamNames).toEqual(['orders'])
  } finally {
    kinesis.destroy()
    setDefaultCACertificates(trusted)
  }
})

test('one who does not trust the certificate, or speaks no TLS, is turned away and does no harm', async () => {
  await expect(fetch(local.kinesisTlsEndpoint)).rejects.toThrow()
  await expect(fetch(local.kinesisTlsEndpoint.replace('https', 'http'))).rejects.toThrow()
  const port = Number(new URL(local.kinesisTlsEndpoint).port)
  const socket = connectTls({ port, host: '127.0.0.1', ca: local.certificate })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  expect(socket.authorized).toBe(true)
  socket.destroy()
})

test('without TLS the endpoint says how to get it', async () => {
  await using plain = await startLocal({ dynamodb: false })
  expect(() => plain.kinesisTlsEndpoint).toThrow('There is no TLS here: start with { tls: true }.')
  expect(() => plain.certificate).toThrow('start with { tls: true }')
})

import { generate } from 'selfsigned'

/** A certificate for this machine alone, and its key, both PEM. */
export interface Certificate {
  readonly certificate: string
  readonly key: string
}

const DAY_MS = 86_400_000
const VALID_DAYS = 365

/** Makes a certificate that signs itself, for `localhost` and the loopback addresses. */
export async function makeCertificate(nowMs: number): Promise<Certificate> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    // A client whose clock is a little behind takes it too.
    notBeforeDate: new Date(nowMs - DAY_MS),
    notAfterDate: new Date(nowMs + VALID_DAYS * DAY_MS),
    extensions: [
      // Trusted as an authority, because that is how a client is told to trust it.
      { name: 'basicConstraints', cA: true, critical: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
          { type: 7, ip: '::1' },
        ],
      },
    ],
  })
  return { certificate: cert, key }
}

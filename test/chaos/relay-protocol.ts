/** What the network (network.ts) and its relay processes (relay.ts) say to each other: JSON, a line each. */

/** Where a relay takes connections for a peer of its server, and the Unix socket that leads to that peer. */
export interface RelayPeer {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly socket: string;
}

/** A Unix socket that the relay listens on, and where its connections end. */
export interface RelayDelivery {
  readonly socket: string;
  readonly host: string;
  readonly port: number;
}

export interface RelayConfig {
  /** The process has a network of its own: it sets up the addresses. */
  readonly ownNetwork: boolean;
  /** The server's own address, in its own network. */
  readonly address: string | undefined;
  readonly peers: readonly RelayPeer[];
  readonly deliveries: readonly RelayDelivery[];
}

/** What befalls connections to a peer. Times in milliseconds. */
export type LinkState =
  | { readonly kind: "good" }
  /** Nothing passes in these directions; what was on its way arrives when the link is good again. */
  | { readonly kind: "hold"; readonly toPeer: boolean; readonly fromPeer: boolean }
  /** As hold in both directions, and the peer's address answers nothing: connecting takes until its timeout. */
  | { readonly kind: "unreachable" }
  | { readonly kind: "delay"; readonly delayMs: number; readonly jitterMs: number }
  /** Connections are reset: those that are open now, and half of the new ones after up to this many bytes. */
  | { readonly kind: "reset"; readonly bytesMax: number }
  /** Of each connection that is open now one end is closed and the other never hears of it. New ones are good. */
  | { readonly kind: "half-open"; readonly closed: "server" | "peer" };

export interface RelayCommand {
  readonly id: number;
  readonly peer: string;
  readonly state: LinkState;
}

/** `id`: of the command that was done; 0 when the relay has started. */
export interface RelayAnswer {
  readonly id: number;
  readonly error?: string;
}
